"""The simulated AWS provider: a gRPC server that Terraform attaches to. `python -m llmops_offline.provider SCHEMA.zip`."""

import json
import os
import re
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
from google.protobuf.message_factory import GetMessageClass

from llmops_offline import checks, functions
from llmops_offline import tfplugin5_pb2 as pb
from llmops_offline.datasources import read as read_data_source
from llmops_offline.schema import SchemaStore, conform
from llmops_offline.simulate import Maker, Provider, plan
from llmops_offline.values import Value, decode, encode

_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def _dynamic(value: Value) -> pb.DynamicValue:
    return pb.DynamicValue(msgpack=encode(value))


def _value(dynamic: pb.DynamicValue) -> Value:
    return json.loads(dynamic.json) if dynamic.json else decode(dynamic.msgpack)


def _errors(problems: list[checks.Problem]) -> list[pb.Diagnostic]:
    diagnostics = []
    for problem in problems:
        diagnostic = pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=problem.summary, detail=problem.detail)
        for step in problem.path:
            if isinstance(step, int):
                diagnostic.attribute.steps.add(element_key_int=step)
            else:
                diagnostic.attribute.steps.add(attribute_name=step)
        diagnostics.append(diagnostic)
    return diagnostics


class AwsProvider:
    """The calls of Terraform's plugin protocol, by their names there in snake case."""

    def __init__(self, store: SchemaStore, stored_response: Path) -> None:
        self._store = store
        self._stored_response = stored_response
        self._maker = Maker()
        self._lock = threading.Lock()
        # Each provider instance (the default one, each alias) has a connection of its own.
        self._instances: dict[str, Provider] = {}
        self._latest = Provider()

    def _instance(self, context: grpc.ServicerContext) -> Provider:
        return self._instances.get(context.peer(), self._latest)

    def get_schema(self, request: pb.GetProviderSchema.Request, context: grpc.ServicerContext) -> pb.GetProviderSchema.Response:
        return pb.GetProviderSchema.Response.FromString(self._stored_response.read_bytes())

    def get_functions(self, request: pb.GetFunctions.Request, context: grpc.ServicerContext) -> pb.GetFunctions.Response:
        return pb.GetFunctions.Response(functions=functions.signatures())

    def call_function(self, request: pb.CallFunction.Request, context: grpc.ServicerContext) -> pb.CallFunction.Response:
        try:
            arguments = [_value(argument) for argument in request.arguments]
            return pb.CallFunction.Response(result=_dynamic(functions.call(request.name, arguments)))
        except ValueError as error:
            return pb.CallFunction.Response(error=pb.FunctionError(text=str(error)))

    def prepare_provider_config(
        self, request: pb.PrepareProviderConfig.Request, context: grpc.ServicerContext
    ) -> pb.PrepareProviderConfig.Response:
        return pb.PrepareProviderConfig.Response(prepared_config=request.config)

    def configure(self, request: pb.Configure.Request, context: grpc.ServicerContext) -> pb.Configure.Response:
        instance = Provider.configured(_value(request.config) or {})
        self._instances[context.peer()] = self._latest = instance
        return pb.Configure.Response()

    def validate_resource_type_config(
        self, request: pb.ValidateResourceTypeConfig.Request, context: grpc.ServicerContext
    ) -> pb.ValidateResourceTypeConfig.Response:
        block = self._store.block("resources", request.type_name)
        problems = checks.check(block, request.type_name, _value(request.config))
        return pb.ValidateResourceTypeConfig.Response(diagnostics=_errors(problems))

    def validate_data_source_config(
        self, request: pb.ValidateDataSourceConfig.Request, context: grpc.ServicerContext
    ) -> pb.ValidateDataSourceConfig.Response:
        block = self._store.block("data_sources", request.type_name)
        problems = checks.check(block, request.type_name, _value(request.config))
        return pb.ValidateDataSourceConfig.Response(diagnostics=_errors(problems))

    def upgrade_resource_state(
        self, request: pb.UpgradeResourceState.Request, context: grpc.ServicerContext
    ) -> pb.UpgradeResourceState.Response:
        block = self._store.block("resources", request.type_name)
        state = conform(block, json.loads(request.raw_state.json))
        return pb.UpgradeResourceState.Response(upgraded_state=_dynamic(state))

    def read_resource(self, request: pb.ReadResource.Request, context: grpc.ServicerContext) -> pb.ReadResource.Response:
        return pb.ReadResource.Response(new_state=request.current_state, private=request.private)

    def plan_resource_change(self, request: pb.PlanResourceChange.Request, context: grpc.ServicerContext) -> pb.PlanResourceChange.Response:
        planned = plan(
            self._store.block("resources", request.type_name),
            _value(request.prior_state),
            _value(request.proposed_new_state),
            self._instance(context),
        )
        return pb.PlanResourceChange.Response(planned_state=_dynamic(planned))

    def apply_resource_change(
        self, request: pb.ApplyResourceChange.Request, context: grpc.ServicerContext
    ) -> pb.ApplyResourceChange.Response:
        block = self._store.block("resources", request.type_name)
        with self._lock:
            state = self._maker.apply(block, request.type_name, _value(request.planned_state), self._instance(context))
        return pb.ApplyResourceChange.Response(new_state=_dynamic(state))

    def read_data_source(self, request: pb.ReadDataSource.Request, context: grpc.ServicerContext) -> pb.ReadDataSource.Response:
        block = self._store.block("data_sources", request.type_name)
        try:
            config, instance = _value(request.config), self._instance(context)
            state = read_data_source(self._maker, block, request.type_name, config, instance)
        except ValueError as error:
            problem = checks.Problem(f"Cannot read {request.type_name}", str(error), ())
            return pb.ReadDataSource.Response(diagnostics=_errors([problem]))
        return pb.ReadDataSource.Response(state=_dynamic(state))

    def import_resource_state(
        self, request: pb.ImportResourceState.Request, context: grpc.ServicerContext
    ) -> pb.ImportResourceState.Response:
        problem = checks.Problem(
            "Import is not simulated",
            "The simulated provider has nothing outside the state that could be imported.",
            (),
        )
        return pb.ImportResourceState.Response(diagnostics=_errors([problem]))

    def stop(self, request: pb.Stop.Request, context: grpc.ServicerContext) -> pb.Stop.Response:
        return pb.Stop.Response()


def serve(provider: AwsProvider) -> tuple[grpc.Server, int]:
    """Starts a server on a free port of 127.0.0.1; the server and the port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=_UNLIMITED)
    service = pb.DESCRIPTOR.services_by_name["Provider"]
    handlers = {
        call.name: grpc.unary_unary_rpc_method_handler(
            getattr(provider, re.sub(r"(?<!^)(?=[A-Z])", "_", call.name).lower()),
            request_deserializer=GetMessageClass(call.input_type).FromString,
            response_serializer=GetMessageClass(call.output_type).SerializeToString,
        )
        for call in service.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main() -> None:
    """Serves until standard input closes, which it does when the parent is gone, however it went."""
    schema = Path(sys.argv[1])
    # the command that started this process decides when it ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    _server, port = serve(AwsProvider(SchemaStore(schema), schema.with_suffix(".pb")))
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
