"""What the fake Modal keeps: deployed functions, files, Dicts, blobs, calls; and the RPCs about them."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from tests.fakes.modal_rpc import Caller, Refused

BUILDER = "2025.06"
MAIN = "main"  # the environment that an account begins with
_SUCCESS = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS


@dataclass
class Call:
    """One call of a function, with its one input."""

    call_id: str
    function_id: str
    input_id: str
    input: api_pb2.FunctionInput
    output: api_pb2.FunctionGetOutputsItem | None = None
    task_id: str = ""  # of the container that works on it
    starts: int = 0
    forgotten: bool = False

    @property
    def queued(self) -> bool:
        """Whether it waits for a container."""
        return self.output is None and not self.task_id


@dataclass
class State:
    """Everything, and a condition that is told of every change."""

    folder: Path
    functions: dict[str, api_pb2.Function] = field(default_factory=dict)
    apps: dict[str, str] = field(default_factory=dict)  # app id to its environment
    tags: dict[str, str] = field(default_factory=dict)  # environment/app/function to function id
    environments: dict[str, str] = field(default_factory=dict)  # of functions, by id
    files: dict[str, bytes] = field(default_factory=dict)  # by SHA-256
    mounts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # path, SHA-256
    images: dict[str, api_pb2.Image] = field(default_factory=dict)
    dicts: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def new_id(self, prefix: str) -> str:
        """An id as Modal's look."""
        return f"{prefix}-{next(self.numbers):010d}"

    async def tell(self) -> None:
        """Wakes whoever waits for a change."""
        async with self.changed:
            self.changed.notify_all()

    async def change(self, most_s: float) -> None:
        """Waits for a change, or so long."""
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait(), most_s)
            except TimeoutError:
                return


class Deployment:
    """What `modal deploy` and `Function.from_name` ask."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def ClientHello(self, request: Any, caller: Caller) -> Any:
        return api_pb2.ClientHelloResponse(image_builder_version=BUILDER)

    async def AuthTokenGet(self, request: Any, caller: Caller) -> Any:
        return api_pb2.AuthTokenGetResponse(token="e30.eyJleHAiOiA5OTk5OTk5OTk5fQ.x")

    async def EnvironmentGetOrCreate(self, request: Any, caller: Caller) -> Any:
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
        metadata = api_pb2.EnvironmentMetadata(name=request.deployment_name, settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)

    async def AppGetOrCreate(self, request: Any, caller: Caller) -> Any:
        return api_pb2.AppGetOrCreateResponse(app_id=self._app(request))

    async def AppGetByDeploymentName(self, request: Any, caller: Caller) -> Any:
        return api_pb2.AppGetByDeploymentNameResponse()

    async def AppCreate(self, request: Any, caller: Caller) -> Any:
        return api_pb2.AppCreateResponse(app_id=self._app(request))

    def _app(self, request: Any) -> str:
        app_id = self._state.new_id("ap")
        self._state.apps[app_id] = request.environment_name or MAIN
        return app_id

    async def AppPublish(self, request: Any, caller: Caller) -> Any:
        for name, function_id in request.function_ids.items():
            environment = self._state.apps[request.app_id]
            self._state.tags[f"{environment}/{request.name}/{name}"] = function_id
            self._state.environments[function_id] = environment
        return api_pb2.AppPublishResponse(url="http://localhost/app", deployed_at=time.time())

    async def AppHeartbeat(self, request: Any, caller: Caller) -> Any:
        return Empty()

    async def AppClientDisconnect(self, request: Any, caller: Caller) -> Any:
        return Empty()

    async def ImageGetOrCreate(self, request: Any, caller: Caller) -> Any:
        image_id = self._state.new_id("im")
        self._state.images[image_id] = request.image
        result = api_pb2.GenericResult(status=_SUCCESS)
        metadata = api_pb2.ImageMetadata(image_builder_version=BUILDER)
        return api_pb2.ImageGetOrCreateResponse(image_id=image_id, result=result, metadata=metadata)

    async def MountBatchedCheckExistence(self, request: Any, caller: Caller) -> Any:
        missing = [one for one in request.sha256_hex_hashes if one not in self._state.files]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: Any, caller: Caller) -> Any:
        if request.WhichOneof("data_oneof") is not None:
            assert hashlib.sha256(request.data).hexdigest() == request.sha256_hex
            self._state.files[request.sha256_hex] = request.data
        return api_pb2.MountPutFileResponse(exists=request.sha256_hex in self._state.files)

    async def MountGetOrCreate(self, request: Any, caller: Caller) -> Any:
        mount_id = self._state.new_id("mo")
        self._state.mounts[mount_id] = [(one.filename, one.sha256_hex) for one in request.files]
        return api_pb2.MountGetOrCreateResponse(mount_id=mount_id)

    async def FunctionPrecreate(self, request: Any, caller: Caller) -> Any:
        function_id = request.existing_function_id or self._state.new_id("fu")
        metadata = api_pb2.FunctionHandleMetadata(
            function_name=request.function_name, function_type=request.function_type
        )
        return api_pb2.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)

    async def FunctionCreate(self, request: Any, caller: Caller) -> Any:
        function_id = request.existing_function_id or self._state.new_id("fu")
        self._state.functions[function_id] = request.function
        return api_pb2.FunctionCreateResponse(
            function_id=function_id,
            function=request.function,
            handle_metadata=self._metadata(request.function),
            function_data=_data(request.function),
        )

    async def FunctionGet(self, request: Any, caller: Caller) -> Any:
        environment = request.environment_name or MAIN
        function_id = self._state.tags.get(f"{environment}/{request.app_name}/{request.object_tag}")
        if function_id is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"no function {request.object_tag} in {request.app_name}")
        function = self._state.functions[function_id]
        return api_pb2.FunctionGetResponse(
            function_id=function_id, handle_metadata=self._metadata(function), function=_data(function)
        )

    def _metadata(self, function: api_pb2.Function) -> api_pb2.FunctionHandleMetadata:
        return api_pb2.FunctionHandleMetadata(
            function_name=function.function_name,
            function_type=function.function_type,
            function_schema=function.function_schema,
            supported_input_formats=function.supported_input_formats,
            supported_output_formats=function.supported_output_formats,
        )


def _data(function: api_pb2.Function) -> api_pb2.FunctionData:
    ranked = api_pb2.FunctionData.RankedFunction(rank=0, function=function)
    return api_pb2.FunctionData(
        function_name=function.function_name, timeout_secs=function.timeout_secs, ranked_functions=[ranked]
    )


class Storing:
    """Dicts and blobs."""

    def __init__(self, state: State, blobs_url: str) -> None:
        self._state = state
        self._blobs_url = blobs_url

    async def DictGetOrCreate(self, request: Any, caller: Caller) -> Any:
        dict_id = f"di-{request.environment_name or MAIN}-{request.deployment_name}"
        creating = request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
        if dict_id not in self._state.dicts and not creating:
            raise Refused(grpc.StatusCode.NOT_FOUND, "no such Dict")
        self._state.dicts.setdefault(dict_id, {})
        return api_pb2.DictGetOrCreateResponse(
            dict_id=dict_id, metadata=api_pb2.DictMetadata(name=request.deployment_name)
        )

    async def DictGet(self, request: Any, caller: Caller) -> Any:
        value = self._dict(request).get(request.key)
        return api_pb2.DictGetResponse(found=value is not None, value=value)

    async def DictUpdate(self, request: Any, caller: Caller) -> Any:
        there = self._dict(request)
        created = False
        for entry in request.updates:
            if not request.if_not_exists or entry.key not in there:
                created = created or entry.key not in there
                there[entry.key] = entry.value
        await self._state.tell()
        return api_pb2.DictUpdateResponse(created=created)

    async def BlobCreate(self, request: Any, caller: Caller) -> Any:
        blob_id = self._state.new_id("bl")
        urls = api_pb2.UploadUrlList(items=[f"{self._blobs_url}/{blob_id}"])
        return api_pb2.BlobCreateResponse(blob_id=blob_id, blob_ids=[blob_id], upload_urls=urls)

    async def BlobGet(self, request: Any, caller: Caller) -> Any:
        return api_pb2.BlobGetResponse(download_url=f"{self._blobs_url}/{request.blob_id}")

    def _dict(self, request: Any) -> dict[bytes, bytes]:
        there = self._state.dicts.get(request.dict_id)
        if there is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, "no such Dict")
        return there


def readable(there: dict[bytes, bytes]) -> dict[str, Any]:
    """A Dict as a client sees it."""
    return {pickle.loads(key): pickle.loads(value) for key, value in there.items()}


class Calling:
    """Calls as clients see them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.answered: dict[str, Any] = {}  # by idempotency key, when the plane tells calls that are made again
        self.tells_repeated = False

    async def FunctionMap(self, request: Any, caller: Caller) -> Any:
        if self.tells_repeated and caller.idempotency_key in self.answered:
            return self.answered[caller.idempotency_key]
        (item,) = request.pipelined_inputs
        call = Call(self._state.new_id("fc"), request.function_id, self._state.new_id("in"), item.input)
        self._state.calls[call.call_id] = call
        pipelined = api_pb2.FunctionPutInputsResponseItem(input_id=call.input_id, input_jwt="e30.e30.x")
        answer = api_pb2.FunctionMapResponse(
            function_call_id=call.call_id,
            pipelined_inputs=[pipelined],
            function_call_jwt="e30.e30.x",
            max_inputs_outstanding=1000,
        )
        self.answered[caller.idempotency_key] = answer
        await self._state.tell()
        return answer

    async def FunctionGetOutputs(self, request: Any, caller: Caller) -> Any:
        call = self._state.calls.get(request.function_call_id)
        if call is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, "no such call")
        until_s = time.monotonic() + request.timeout
        while call.output is None and not call.forgotten and (left_s := until_s - time.monotonic()) > 0:
            await self._state.change(min(left_s, 0.2))
        if call.forgotten:
            return api_pb2.FunctionGetOutputsResponse(last_entry_id="1-0", num_unfinished_inputs=0)
        if call.output is None:
            return api_pb2.FunctionGetOutputsResponse(last_entry_id="1-0", num_unfinished_inputs=1)
        return api_pb2.FunctionGetOutputsResponse(idxs=[0], outputs=[call.output], last_entry_id="1-1")
