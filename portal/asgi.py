from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from portal.doorman import Doorman

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

application = Doorman(get_asgi_application())
