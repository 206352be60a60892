"""What healthy runs teach about levels, and what would have been raised on past ones.

In the order of the data:

sources      files and topics, as a replay takes them
scores       what the charts of one run showed, by chart and kind of series
learning     which runs are healthy, their scores' tails, and how many false warnings those leave
curves       a run's loss, gradient norm and worst scores, thinned for a plot
drawing      that plot
"""
