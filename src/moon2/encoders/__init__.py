"""Any model behind one protocol: moon2's own, its peers, sentence-transformers models, CLIP and SigLIP."""
