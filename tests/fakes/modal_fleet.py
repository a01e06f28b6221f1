"""Containers of the fake Modal: the real entry point in processes of its own, over the files that were deployed."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from tests.fakes.modal_rpc import Caller
from tests.fakes.modal_state import Call, State

_RESULT = api_pb2.GenericResult
HEARTBEAT_S = 5.0
GRACE_S = 20.0  # between the wish that a container ends, and SIGKILL


@dataclass
class Container:
    """A container that runs."""

    task_id: str
    function_id: str
    process: asyncio.subprocess.Process
    call: Call | None = None
    cancels: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    watching: asyncio.Task[None] | None = None
    final: bool = False  # it gets nothing more
    frozen: bool = False  # it cannot end by itself


class Fleet:
    """Starts containers for what is queued, hands inputs out, takes outputs, cancels."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.url = ""
        self.held = False  # nothing is handed out: a long queue
        self.let: set[str] = set()  # but these calls
        self.kill_at = ""  # a container that writes such a key into a Dict dies at once, its answer unheard
        self.containers: dict[str, Container] = {}
        self.kept: list[asyncio.Task[None]] = []
        self._folders: dict[str, Path] = {}

    # As a container sees it

    async def ContainerHello(self, request: Any, caller: Caller) -> Any:
        return Empty()

    async def ContainerHeartbeat(self, request: Any, caller: Caller) -> Any:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                input_id = await self.containers[caller.task_id].cancels.get()
        except TimeoutError:
            return api_pb2.ContainerHeartbeatResponse()
        return api_pb2.ContainerHeartbeatResponse(cancel_input_event=api_pb2.CancelInputEvent(input_ids=[input_id]))

    async def ContainerLog(self, request: Any, caller: Caller) -> Any:
        return Empty()

    async def TaskResult(self, request: Any, caller: Caller) -> Any:
        """A container that could not be set up: its calls end with why."""
        container = self.containers[caller.task_id]
        for call in self._queue(container.function_id):
            await self._end(call, request.result)
        return Empty()

    async def FunctionGetInputs(self, request: Any, caller: Caller) -> Any:
        container = self.containers[caller.task_id]
        container.call = None
        idle_s = self._state.functions[container.function_id].task_idle_timeout_secs
        until_s = time.monotonic() + idle_s
        while time.monotonic() < until_s and not container.final:
            waiting = self._ready(container.function_id)
            if waiting:
                return self._hand_out(waiting[0], container)
            await self._state.change(0.2)
        container.final = True
        return api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])

    def _hand_out(self, call: Call, container: Container) -> Any:
        container.call, call.task_id = call, container.task_id
        call.starts += 1
        item = api_pb2.FunctionGetInputsItem(
            input_id=call.input_id,
            input=call.input,
            function_call_id=call.call_id,
            function_call_invocation_type=api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
        )
        return api_pb2.FunctionGetInputsResponse(inputs=[item])

    async def FunctionPutOutputs(self, request: Any, caller: Caller) -> Any:
        for item in request.outputs:
            for call in self._state.calls.values():
                if call.input_id == item.input_id and call.task_id == caller.task_id:
                    await self._end(call, item.result, item.data_format)
        return Empty()

    async def written(self, request: Any, caller: Caller) -> None:
        """Looks at what a container wrote into a Dict."""
        keys = [str(pickle.loads(entry.key)) for entry in request.updates]
        if self.kill_at and caller.task_id and any(key.startswith(self.kill_at) for key in keys):
            await self.kill(self.containers[caller.task_id])

    # As a client sees it

    async def FunctionCallCancel(self, request: Any, caller: Caller) -> Any:
        call = self._state.calls.get(request.function_call_id)
        if call is not None and call.output is None:
            container = self.containers.get(call.task_id)
            if container is None:
                await self._end(call, _RESULT(status=_RESULT.GENERIC_STATUS_TERMINATED))
            else:
                container.cancels.put_nowait(call.input_id)
                if request.terminate_containers:
                    container.final = True
                    self.kept.append(asyncio.create_task(self._terminate(container, call)))
        return Empty()

    async def _terminate(self, container: Container, call: Call) -> None:
        try:
            async with asyncio.timeout(0 if container.frozen else GRACE_S):
                await container.process.wait()
        except TimeoutError:
            await self.kill(container)
        if call.output is None:
            await self._end(call, _RESULT(status=_RESULT.GENERIC_STATUS_TERMINATED))

    # The fleet itself

    async def run(self) -> None:
        """Starts containers while calls wait for them."""
        while True:
            await self._state.change(0.2)
            for function_id in {call.function_id for call in self._state.calls.values() if call.queued}:
                mine = [one for one in self.containers.values() if one.function_id == function_id and not one.final]
                free = sum(1 for one in mine if one.call is None)
                most = self._state.functions[function_id].autoscaler_settings.max_containers
                if len(self._ready(function_id)) > free and len(mine) < most:
                    await self._start(function_id)

    async def kill(self, container: Container) -> None:
        """As the kernel does for want of memory, or a machine that is lost: everything in it dies."""
        container.final = True
        try:
            os.killpg(container.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        await container.process.wait()

    async def preempt(self, call_id: str) -> None:
        """Takes the machine away in order: the input is begun again elsewhere."""
        container = self.containers[self._state.calls[call_id].task_id]
        container.final = True
        container.process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(GRACE_S):
                await container.process.wait()
        except TimeoutError:
            await self.kill(container)

    async def stop(self) -> None:
        """Ends all of them."""
        for container in list(self.containers.values()):
            await self.kill(container)
        await asyncio.gather(*(one.watching for one in self.containers.values() if one.watching))
        for task in self.kept:
            task.cancel()

    def _queue(self, function_id: str) -> list[Call]:
        return [call for call in self._state.calls.values() if call.queued and call.function_id == function_id]

    def _ready(self, function_id: str) -> list[Call]:
        return [call for call in self._queue(function_id) if not self.held or call.call_id in self.let]

    async def _end(self, call: Call, result: Any, data_format: Any = 0) -> None:
        call.output = api_pb2.FunctionGetOutputsItem(
            result=result, input_id=call.input_id, data_format=data_format, task_id=call.task_id
        )
        await self._state.tell()

    async def _start(self, function_id: str) -> None:
        task_id = self._state.new_id("ta")
        root = self._unpacked(function_id)
        function = self._state.functions[function_id]
        layout = api_pb2.AppLayout(function_ids={function.function_name: function_id})
        layout.objects.add(
            object_id=function_id,
            function_handle_metadata=api_pb2.FunctionHandleMetadata(function_name=function.function_name),
        )
        for one in function.object_dependencies:
            layout.objects.add(object_id=one.object_id)
        arguments = api_pb2.ContainerArguments(
            task_id=task_id, function_id=function_id, app_id="ap-1", function_def=function, app_layout=layout
        )
        path = self._state.folder / f"{task_id}.arguments"
        path.write_bytes(arguments.SerializeToString())
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._state.folder),
            "PYTHONPATH": str(root / "root"),
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(path),
            "MODAL_SERVER_URL": self.url,
            "MODAL_IS_REMOTE": "1",
            "MODAL_TASK_ID": task_id,
            "MODAL_ENVIRONMENT": self._state.environments[function_id],
            "MODAL_OVERRIDE_HEADERS": f"x-fake-task:{task_id}",
            "MODAL_HEARTBEAT_INTERVAL": str(HEARTBEAT_S + 1),
        }
        log = (self._state.folder / f"{task_id}.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "modal._container_entrypoint"),
            env=environment,
            cwd=root / "root",
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        container = Container(task_id, function_id, process)
        self.containers[task_id] = container
        container.watching = asyncio.create_task(self._watch(container))

    async def _watch(self, container: Container) -> None:
        """A container that ended in the midst of a call: Modal begins the call again, without end."""
        await container.process.wait()
        call = container.call
        del self.containers[container.task_id]
        if call is not None and call.output is None and call.task_id == container.task_id:
            call.task_id = ""
        await self._state.tell()

    def _unpacked(self, function_id: str) -> Path:
        """The files that were deployed with a function, as its containers find them."""
        if function_id not in self._folders:
            root = self._state.folder / function_id
            function = self._state.functions[function_id]
            for mount_id in function.mount_ids:
                for name, digest in self._state.mounts[mount_id]:
                    path = root / name.lstrip("/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self._state.files[digest])
            self._folders[function_id] = root
        return self._folders[function_id]
