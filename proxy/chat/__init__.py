"""The canonical values that every dialect is read into and written from. Frozen; no I/O."""
