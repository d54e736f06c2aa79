"""What travels besides HTTP, as an AsyncAPI 3 document: ``python -m web.asyncapi`` prints it.

Nothing is written here that another module decides: channels come from `messages.topology`,
payloads from the models of `messages` and `web.live.messages`.
"""
