"""Reference tasks of the sources of e-prop and of learning to learn, on the code of `snn`.

A task (`waveform`, `cues`, `teacher`) says what a network hears and what it should answer. Who runs the neurons and computes the gradients of the
first two is an `executor.Executor`: torch here, or whatever else implements its two methods.
"""
