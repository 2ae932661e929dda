"""The engine: one artifact in OpenVINO (session), which token comes next (sampling), the text so far
(text), and who sits in which slot of all loaded models, driven a step at a time (decoder).
"""
