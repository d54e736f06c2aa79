"""The site: pages, API, sockets and the tasks that speak with the broker.

It never imports torch, monai, pika or the lab.
"""
