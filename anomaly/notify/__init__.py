"""The notifier: incidents reach people. `anomaly notify`, or a thread of the worker's process.

Knows nothing of Faust: a plain consumer of the incidents topic, one group a receiver, progress committed once a page
is delivered. Reading order: delivery (what goes to a receiver, and what one is).
"""
