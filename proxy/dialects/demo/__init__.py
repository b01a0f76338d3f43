"""The built-in provider: answers from the prompt and speaks to no one."""
