"""The sample: a real managed system (repository, environment, service, service manager) to try the portal on."""

from __future__ import annotations
