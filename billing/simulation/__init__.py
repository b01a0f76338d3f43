"""What if this configuration had been in force? Usage records are replayed under a draft.

draft -> snapshots; record -> caller, facts -> targets -> prices -> limits and budgets -> totals
"""
