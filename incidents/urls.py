from __future__ import annotations

from django.urls import path

from incidents import views

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
    path("incidents/<int:pk>/waive/", views.waive, name="waive"),
    path("incidents/<int:pk>/add-item/", views.add_item, name="add_item"),
    path("action-items/<int:pk>/", views.action_item, name="action_item"),
    path("action-items/<int:pk>/start/", views.start_item, name="start_item"),
    path("action-items/<int:pk>/finish/", views.finish_item, name="finish_item"),
    path("action-items/<int:pk>/drop/", views.drop_item, name="drop_item"),
    path("my-work/", views.my_work, name="my_work"),
    path("incidents/<int:pk>/update/", views.update, name="update"),
    path("incidents/<int:pk>/deliveries/", views.incident_deliveries, name="incident_deliveries"),
    path("notifications/", views.notifications, name="notifications"),
    path("notifications/read/", views.read, name="read"),
    path("notifications/deliveries/", views.deliveries, name="deliveries"),
    path("notifications/deliveries/<int:pk>/resend/", views.resend, name="resend"),
    path("notifications/channels/", views.my_channels, name="my_channels"),
    path("notifications/channels/wishes/", views.set_wishes, name="set_wishes"),
    path("notifications/channels/subscribe/", views.subscribe, name="subscribe"),
    path("notifications/channels/subscriptions/<int:pk>/end/", views.unsubscribe, name="unsubscribe"),
    path("notifications/channels/<int:pk>/code/", views.send_code, name="send_code"),
    path("notifications/channels/<int:pk>/prove/", views.prove, name="prove"),
    path("notifications/channels/<int:pk>/first/", views.first_channel, name="first_channel"),
    path("notifications/channels/<int:pk>/remove/", views.remove_channel, name="remove_channel"),
    path("contacts/", views.contacts, name="contacts"),
]
