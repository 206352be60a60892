"""The demo: a small transformer trained for real on this machine, with real faults, watched over Kafka.

model       a byte-level transformer and Adam in plain JAX
faults      what goes wrong in each run, and whether what was found fits
training    the training loop with its telemetry
servers     the development broker and a worker that is started again if it dies
incidents   the incidents topic as it comes
screen      what is shown
run         all of it together
"""
