"""Bytes to frames, without sockets."""
