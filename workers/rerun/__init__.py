"""The inputs of a stored result, written again so that anybody can run it by hand.

::

    past       the steps that ran, as far as the result says      subject   the material they ran on
    pw, response   the files of each step and how they are run    script    run.sh
    readme         README.txt                                     write     all of it into a directory
"""
