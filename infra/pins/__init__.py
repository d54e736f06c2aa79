"""What is installed: for each extra every package with its version and the hashes of its files.

`python3.11 -m infra.pins VENV web|consumer` installs by them; `make constraints` makes them anew.
"""
