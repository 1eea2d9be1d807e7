"""Webhooks: the end of an edit, told to a URL of the request.

No edit waits for a webhook, and nothing here sees a picture.
"""
