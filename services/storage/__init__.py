"""Objects of tenants in one bucket: keys, grants, uploads, listing, copying, deletion, usage."""
