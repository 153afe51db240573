"""What a pipeline is made of: components, torch modules, parameters, files, digests."""
