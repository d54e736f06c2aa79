"""What the site asks Orthanc, and how it bounds the answers."""
