"""The installation's part of ``mri-web check``, one noun a file.

A check yields lines. What is not right names its fix; what could not be looked at names what it
needs. Checks change nothing that stays, and print no secret and no patient data.
"""
