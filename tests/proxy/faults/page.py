def written() -> str:
    return ""
