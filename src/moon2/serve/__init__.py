"""`moon2 serve`: embeddings and search over HTTP, in the forms that OpenAI's, vLLM's and Cohere's clients send."""
