from __future__ import annotations

from django.urls import path

from incidents import views, views_sources

app_name = "incidents"
urlpatterns = [
    path("incidents/", views.incidents, name="incidents"),
    path("incidents/declare/", views.declare, name="declare"),
    path("incidents/<int:pk>/", views.incident, name="incident"),
    path("incidents/<int:pk>/acknowledge/", views.acknowledge, name="acknowledge"),
    path("incidents/<int:pk>/mitigate/", views.mitigate, name="mitigate"),
    path("incidents/<int:pk>/monitor/", views.monitor, name="monitor"),
    path("incidents/<int:pk>/resolve/", views.resolve, name="resolve"),
    path("incidents/<int:pk>/close/", views.close, name="close"),
    path("incidents/<int:pk>/cancel/", views.cancel, name="cancel"),
    path("incidents/<int:pk>/reopen/", views.reopen, name="reopen"),
    path("incidents/<int:pk>/note/", views.note, name="note"),
    path("incidents/reviews/<int:pk>/answer/", views.answer_review, name="answer_review"),
    path("sources/", views_sources.sources, name="sources"),
    path("sources/<slug:name>/", views_sources.source, name="source"),
    path("sources/<slug:name>/rotate/", views_sources.rotate, name="rotate"),
    path("contacts/", views.contacts, name="contacts"),
]
