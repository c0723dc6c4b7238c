"""Reads and sends at the sandbox with Microsoft's generated SDK for Python and its credentials (azure-identity)."""

import asyncio
import json
import sys

import httpx
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import CertificateCredential, ClientAssertionCredential, ClientSecretCredential, DeviceCodeCredential
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.app_role_assignment import AppRoleAssignment
from msgraph.generated.models.application import Application
from msgraph.generated.models.attachment_item import AttachmentItem
from msgraph.generated.models.attachment_type import AttachmentType
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.email_address import EmailAddress
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.message import Message
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.password_credential import PasswordCredential
from msgraph.generated.models.recipient import Recipient
from msgraph.generated.models.spa_application import SpaApplication
from msgraph.generated.applications.item.add_password.add_password_post_request_body import AddPasswordPostRequestBody
from msgraph.generated.applications.item.remove_password.remove_password_post_request_body import RemovePasswordPostRequestBody
from msgraph.generated.groups.groups_request_builder import GroupsRequestBuilder
from msgraph.generated.service_principals.service_principals_request_builder import ServicePrincipalsRequestBuilder
from msgraph.generated.users.item.messages.item.attachments.create_upload_session.create_upload_session_post_request_body import CreateUploadSessionPostRequestBody
from msgraph.generated.users.item.send_mail.send_mail_post_request_body import SendMailPostRequestBody
from msgraph.generated.users.users_request_builder import UsersRequestBuilder
from msgraph_core import GraphClientFactory, PageIterator

with open(sys.argv[1]) as file:
    GIVEN = json.load(file)
ADDRESS = GIVEN["address"]
SCOPE = f"{ADDRESS}/.default"


def ok(what):
    print("ok", what)


def options():
    # Without this the library asks login.microsoftonline.com whether it knows the host.
    transport = RequestsTransport(connection_verify=GIVEN["ca"], use_env_settings=False)
    return {"authority": ADDRESS, "disable_instance_discovery": True, "transport": transport}


def secret(client, value):
    return ClientSecretCredential(GIVEN["tenant"], client, value, **options())


def client(credential):
    provider = AzureIdentityAuthenticationProvider(credential, scopes=[SCOPE], allowed_hosts=["localhost"])
    http = httpx.AsyncClient(verify=GIVEN["ca"], trust_env=False, timeout=60)
    http = GraphClientFactory.create_with_default_middleware(client=http)
    adapter = GraphRequestAdapter(provider, http)
    adapter.base_url = f"{ADDRESS}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


def credentials():
    assert secret(GIVEN["direct"], GIVEN["secret"]).get_token(SCOPE).token
    ok("a client secret")
    try:
        secret(GIVEN["direct"], "wrong").get_token(SCOPE)
    except ClientAuthenticationError as error:
        assert "AADSTS7000215" in error.message, error.message
    else:
        raise AssertionError("a wrong secret is accepted")
    ok("a wrong secret")
    with open(GIVEN["key"], "rb") as key, open(GIVEN["certificate"], "rb") as certificate:
        data = key.read() + certificate.read()
    assert CertificateCredential(GIVEN["tenant"], GIVEN["direct"], certificate_data=data, **options()).get_token(SCOPE).token
    ok("a certificate")
    assertion = ClientAssertionCredential(GIVEN["tenant"], GIVEN["direct"], lambda: GIVEN["assertion"], **options())
    assert assertion.get_token(SCOPE).token
    ok("a federated token")
    device = DeviceCodeCredential(GIVEN["public"], tenant_id=GIVEN["tenant"], prompt_callback=lambda *_: None, **options())
    assert device.get_token(f"{ADDRESS}/User.Read").token
    ok("a device code")


def message(subject):
    to = [Recipient(email_address=EmailAddress(address="customer@elsewhere.example"))]
    body = ItemBody(content_type=BodyType.Text, content="Here it is.")
    return Message(subject=subject, body=body, to_recipients=to)


def query(builder, eventual=True, **parameters):
    configuration = RequestConfiguration(query_parameters=builder(**parameters))
    if eventual:
        configuration.headers.add("ConsistencyLevel", "eventual")
    return configuration


async def mail():
    sender = client(secret(GIVEN["direct"], GIVEN["secret"])).users.by_user_id(GIVEN["sender"])
    await sender.send_mail.post(SendMailPostRequestBody(message=message("An invoice"), save_to_sent_items=True))
    ok("sendMail")
    nobody = Message(subject="To nobody")
    try:
        await sender.send_mail.post(SendMailPostRequestBody(message=nobody))
    except ODataError as error:
        assert (error.response_status_code, error.error.code) == (400, "ErrorInvalidRecipients"), error
        assert error.error.inner_error is None, error
    else:
        raise AssertionError("a message to nobody is accepted")
    ok("a message to nobody")
    writer = client(secret(GIVEN["writer"], GIVEN["writerSecret"])).users.by_user_id(GIVEN["sender"])
    draft = await writer.messages.post(message("A large one"))
    drafted = writer.messages.by_message_id(draft.id)
    item = AttachmentItem(attachment_type=AttachmentType.File, name="plan.pdf", size=4 * 1024 * 1024)
    session = await drafted.attachments.create_upload_session.post(CreateUploadSessionPostRequestBody(attachment_item=item))
    assert session.upload_url and session.next_expected_ranges, session
    await drafted.delete()
    ok("a draft and an upload session")


async def directory():
    graph = client(secret(GIVEN["reader"], GIVEN["readerSecret"]))
    parameters = UsersRequestBuilder.UsersRequestBuilderGetQueryParameters
    found = await graph.users.get(query(parameters, search='"displayName:alice" OR "mail:alice"', count=True, select=["id", "mail"]))
    assert [user.mail for user in found.value] == ["alice@contoso.example"] and found.odata_count == 1, found.value
    ok("$search and $count")
    users = await graph.users.get(query(parameters, eventual=False, orderby=["displayName"], top=2))
    names = []
    await PageIterator(users, graph.request_adapter).iterate(lambda user: names.append(user.user_principal_name) or True)
    assert len(names) == 4 and sorted(names) == names, names
    ok("$orderby and pages")
    assert int(await graph.users.count.get(counted())) == 4
    ok("/users/$count")
    try:
        await graph.users.get(query(parameters, eventual=False, search='"displayName:alice"'))
    except ODataError as error:
        assert (error.response_status_code, error.error.code) == (400, "Request_UnsupportedQuery"), error
        assert error.error.inner_error.request_id and error.error.inner_error.client_request_id, error
    else:
        raise AssertionError("a search without the header is answered")
    ok("a search without its header")
    parameters = GroupsRequestBuilder.GroupsRequestBuilderGetQueryParameters
    groups = await graph.groups.get(query(parameters, search='"displayName:sales"'))
    assert [group.mail for group in groups.value] == ["sales@contoso.example"], groups.value
    contacts = await graph.contacts.get()
    assert [contact.company_name for contact in contacts.value] == ["Customer"], contacts.value
    ok("groups and contacts")


def counted():
    configuration = RequestConfiguration()
    configuration.headers.add("ConsistencyLevel", "eventual")
    return configuration


async def registrations():
    graph = client(secret(GIVEN["administrator"], GIVEN["administratorSecret"]))
    created = await graph.applications.post(Application(display_name="ERP", sign_in_audience="AzureADMyOrg"))
    application = graph.applications.by_application_id(created.id)
    await application.patch(Application(spa=SpaApplication(redirect_uris=["https://erp.contoso.example/"])))
    body = AddPasswordPostRequestBody(password_credential=PasswordCredential(display_name="new"))
    added = await application.add_password.post(body)
    assert added.secret_text.startswith(added.hint), added
    await application.remove_password.post(RemovePasswordPostRequestBody(key_id=added.key_id))
    shown = await application.get()
    assert shown.spa.redirect_uris == ["https://erp.contoso.example/"] and shown.password_credentials == [], shown
    ok("an application")
    parameters = ServicePrincipalsRequestBuilder.ServicePrincipalsRequestBuilderGetQueryParameters
    own_filter = f"appId eq '{GIVEN['public']}'"
    own = (await graph.service_principals.get(query(parameters, eventual=False, filter=own_filter))).value[0]
    resource = await graph.service_principals_with_app_id("00000003-0000-0000-c000-000000000000").get()
    role = next(role for role in resource.app_roles if role.value == "Mail.ReadWrite")
    assignments = graph.service_principals.by_service_principal_id(own.id).app_role_assignments
    assigned = await assignments.post(AppRoleAssignment(principal_id=own.id, resource_id=resource.id, app_role_id=role.id))
    await assignments.by_app_role_assignment_id(assigned.id).delete()
    assert (await assignments.get()).value == []
    ok("a permission")
    await application.delete()


credentials()
asyncio.run(mail())
asyncio.run(directory())
asyncio.run(registrations())
