from __future__ import annotations

from django.urls import path

from incidents import views, views_on_call, views_sources

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
    path("contacts/print/", views_on_call.print_contacts, name="print_contacts"),
    path("contacts/<int:pk>/verify/", views_on_call.verify, name="verify"),
    path("on-call/", views_on_call.on_call, name="on_call"),
    path("on-call/<int:pk>/override/", views_on_call.override, name="override"),
    path("on-call/<int:pk>/swap/", views_on_call.swap, name="swap"),
    path("on-call/address/", views_on_call.address, name="address"),
    path("on-call/absences/", views_on_call.absences, name="absences"),
    path("on-call/calendar/<str:token>.ics", views_on_call.calendar, name="calendar"),
    path("api/on-call/", views_on_call.api, name="api_on_call"),
]
