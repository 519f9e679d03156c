"""A program as ``streamfn run`` loads it; which one, a ``Job`` in the environment says."""

import json
import os

from tests.broker.programs import Job
from tests.broker.workers import JOB

app = Job(**json.loads(os.environ[JOB])).app()
