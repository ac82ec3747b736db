"""Capturing: exact, inert unless asked, and invisible from one thread to another."""

import threading

import pytest
import torch
from torch import Tensor, nn

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.hooks import _COLLECTOR, Hook, Hooks
from lake_core.types import HookPoint
from tests.core.running import in_threads
from tests.core.tiny import OpenTiny

FIRST, SECOND = HookPoint(1, "residual_channel"), HookPoint(2, "residual_channel")


def copy(_place: HookPoint, tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def n_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_takes_the_input_or_the_output_as_told() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    hooks = Hooks({FIRST: Hook(net[1], "input"), SECOND: Hook(net[1], "output")}, copy)
    x = torch.randn(5, 3)
    with hooks.collecting(frozenset({FIRST, SECOND})) as found:
        net(x)
    torch.testing.assert_close(found[FIRST], net[0](x))
    torch.testing.assert_close(found[SECOND], net(x))


def test_takes_only_what_is_wanted() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    hooks = Hooks({FIRST: Hook(net[0], "output"), SECOND: Hook(net[1], "output")}, copy)
    with hooks.collecting(frozenset({SECOND})) as found:
        net(torch.randn(5, 3))
    assert found.keys() == {SECOND}


def test_a_relu_in_place_does_not_corrupt_what_was_taken() -> None:
    first = nn.Linear(3, 4)
    net = nn.Sequential(first, nn.ReLU(inplace=True))
    hooks = Hooks({FIRST: Hook(first, "output")}, copy)
    x = torch.randn(5, 3)
    with hooks.collecting(frozenset({FIRST})) as found:
        net(x)
    torch.testing.assert_close(found[FIRST], x @ first.weight.T + first.bias)
    assert (found[FIRST] < 0).any()


@pytest.mark.parametrize("name", ["timm-resnet", "native-resnet", "efficientnet", "convnext"])
def test_adapters_give_copies(open_tiny: OpenTiny, name: str) -> None:
    backbone = open_tiny(name)
    raws: dict[HookPoint, Tensor] = {}

    def patches(hook_point: HookPoint, raw: Tensor) -> Tensor:
        raws[hook_point] = raw
        return adapter.patches(hook_point, raw)

    adapter = backbone.adapter
    hooks = Hooks(adapter.hooks(), patches)
    with torch.inference_mode(), hooks.collecting(hooks.hook_points) as found:
        adapter.forward(torch.randn(1, 3, *backbone.input_size))
    assert found.keys() == raws.keys() == hooks.hook_points
    assert found
    for hook_point, tensor in found.items():
        assert tensor.data_ptr() != raws[hook_point].data_ptr(), hook_point


def test_a_place_without_hook_is_refused_and_leaves_no_collector() -> None:
    net = nn.Linear(3, 4)
    hooks = Hooks({FIRST: Hook(net, "output")}, copy)
    with pytest.raises(KeyError, match="layer=2"), hooks.collecting(frozenset({SECOND})):
        pass
    assert _COLLECTOR.get() is None


def test_an_error_during_the_pass_leaves_no_collector() -> None:
    net = nn.Linear(3, 4)
    hooks = Hooks({FIRST: Hook(net, "output")}, copy)
    with pytest.raises(RuntimeError), hooks.collecting(frozenset({FIRST})):
        net(torch.randn(5, 7))
    assert _COLLECTOR.get() is None


def test_two_networks_do_not_take_each_others_activations() -> None:
    nets = [nn.Linear(3, 4), nn.Linear(3, 4)]
    one, other = (Hooks({FIRST: Hook(net, "output")}, copy) for net in nets)
    x = torch.randn(2, 3)
    with one.collecting(frozenset({FIRST})) as found_one:
        nets[0](x)
        with other.collecting(frozenset({FIRST})) as found_other:
            nets[0](x + 1)
            nets[1](x)
        nets[1](x + 1)
    torch.testing.assert_close(found_one[FIRST], nets[0](x))
    torch.testing.assert_close(found_other[FIRST], nets[1](x))


def test_a_capture_in_one_thread_is_not_seen_by_another() -> None:
    net = nn.Linear(3, 4)
    hooks = Hooks({FIRST: Hook(net, "output")}, copy)
    seen_outside: list[object] = []

    def elsewhere() -> None:
        seen_outside.append(_COLLECTOR.get())
        net(torch.randn(2, 3))

    with hooks.collecting(frozenset({FIRST})) as found:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert found == {}
    assert seen_outside == [None]


@pytest.mark.parametrize("name", ["native-vit", "timm-resnet", "siglip"])
def test_four_threads_on_one_model_never_see_each_other(open_tiny: OpenTiny, name: str) -> None:
    backbone = open_tiny(name)
    inputs = torch.randn(4, 1, 3, *backbone.input_size, generator=torch.Generator().manual_seed(0))

    def capture(index: int) -> dict[HookPoint, Tensor]:
        # Without the lock of `Backbone.forward`, which would keep the threads from ever meeting.
        with torch.inference_mode(), backbone._hooks.collecting(backbone._hooks.hook_points) as found:
            backbone.adapter.forward(inputs[index])
        return found

    references = [capture(index) for index in range(4)]
    assert all(len(found) >= len(backbone.layers) for found in references)

    def work(index: int) -> None:
        for _ in range(40):
            found = capture(index)
            assert found.keys() == references[index].keys()
            for hook_point, tensor in found.items():
                torch.testing.assert_close(tensor, references[index][hook_point], rtol=1e-4, atol=1e-4)
        assert _COLLECTOR.get() is None

    in_threads(work)


def test_threads_that_forward_at_once_get_their_own_images(open_tiny: OpenTiny) -> None:
    backbone = open_tiny("efficientnet")
    inputs = torch.randn(4, 2, 3, *backbone.input_size, generator=torch.Generator().manual_seed(0))
    references = [backbone.forward(x, backbone.hook_points) for x in inputs]
    assert all(len(found) >= len(backbone.layers) for found in references)

    def work(index: int) -> None:
        for _ in range(10):
            found = backbone.forward(inputs[index], backbone.hook_points)
            assert found.keys() == references[index].keys()
            for hook_point, tensor in found.items():
                torch.testing.assert_close(tensor, references[index][hook_point])

    in_threads(work)


def test_hooks_are_installed_once(lake_cnn: Backbone, open_tiny: OpenTiny) -> None:
    backbone = open_tiny("native-vit")
    before = n_hooks(backbone._model)
    for _ in range(3):
        backbone.forward(torch.randn(1, 3, *backbone.input_size), backbone.hook_points)
    assert n_hooks(backbone._model) == before == len(backbone._hooks.hook_points)


def test_what_is_put_in_is_collected_and_goes_on() -> None:
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    net = nn.Sequential(first, second)
    hooks = Hooks({FIRST: Hook(first, "output"), SECOND: Hook(second, "input")}, copy)
    x = torch.randn(5, 3)
    plain = net(x)
    with hooks.replacing({FIRST: lambda raw: raw * 2}), hooks.collecting(frozenset({FIRST, SECOND})) as found:
        net(x)
    torch.testing.assert_close(found[FIRST], found[SECOND])
    with hooks.replacing({FIRST: lambda raw: raw * 2}), hooks.collecting(frozenset({FIRST})) as found:
        changed = net(x)
    torch.testing.assert_close(found[FIRST], 2 * first(x))
    torch.testing.assert_close(changed, nn.functional.linear(2 * first(x), second.weight, second.bias))
    torch.testing.assert_close(net(x), plain)
    with hooks.replacing({SECOND: torch.zeros_like}):
        torch.testing.assert_close(net(x), second.bias.expand(5, 2))


def test_a_replacement_is_not_seen_by_another_thread_or_after_an_error() -> None:
    net = nn.Linear(3, 4)
    hooks = Hooks({FIRST: Hook(net, "output")}, copy)
    x = torch.randn(2, 3)
    plain, elsewhere = net(x), []
    with hooks.replacing({FIRST: torch.zeros_like}):
        thread = threading.Thread(target=lambda: elsewhere.append(net(x)))
        thread.start()
        thread.join()
        assert not net(x).any()
        with pytest.raises(RuntimeError):
            net(torch.randn(5, 7))
    torch.testing.assert_close(elsewhere[0], plain)
    torch.testing.assert_close(net(x), plain)
    with pytest.raises(KeyError, match="layer=2"), hooks.replacing({SECOND: torch.zeros_like}):
        pass
