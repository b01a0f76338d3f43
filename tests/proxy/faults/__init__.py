"""What providers do wrong, and what becomes of it: a table in code, run on real sockets.

python -m tests.proxy.faults            prints what docs/faults.md holds
python -m tests.proxy.faults --run      runs the table and prints what is not as it says
"""
