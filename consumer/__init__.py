"""The lab: takes requests from the broker, analyses, stores results, tells what happened.

Never imports Django, Channels, aio-pika or anything of ``infra``.
"""
