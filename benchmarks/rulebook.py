from .figures import Figure
def measure() -> list[Figure]:
    return []
