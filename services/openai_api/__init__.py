"""OpenAI's image API in front of EditService: a form in, JSON or server-sent events out. No model, no torch."""
