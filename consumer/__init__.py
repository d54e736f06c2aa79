"""The lab: takes requests from the broker, analyses, stores results, reports what happened.

Never imports Django, Channels, aio-pika or anything of ``infra``.
"""
