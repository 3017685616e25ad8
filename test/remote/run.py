"""
Runs the cases; the last line counts them.

    run.py BUILD            the folder with the programs
    run.py BUILD moto       with moto's store, by a Python that has it
    KNN_REMOTE_TESTS=part   only cases whose names contain it
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness

if sys.argv[2:] == ["moto"]:
    import test_moto
else:
    import test_credentials
    import test_remote
    import test_store

sys.exit(harness.main())
