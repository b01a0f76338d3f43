"""OpenAI Responses (developers.openai.com/api/reference/resources/responses), without its stored
state: every request brings its whole input."""
