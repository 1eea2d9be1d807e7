"""OpenAI's image API in front of EditService, without models or torch.

A multipart form comes in; JSON or server-sent events go out.
"""
