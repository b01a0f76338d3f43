"""Gemini: generateContent and streamGenerateContent of v1beta (ai.google.dev/api/generate-content).

Vertex AI speaks it too (cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference),
and adds arguments that stream in parts and block reasons of its own.
"""
