"""Run the kit: `python -m simulators.conformance URL`."""

from simulators.conformance.run import main

raise SystemExit(main())
