"""Files of weights: what torch itself wrote, files assembled opcode by opcode, bombs, and random damage."""

import base64
import json
import re
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from eegjax.data.formats import torch_pickle
from eegjax.data.formats.torch_file import read_torch_file
from eegjax.data.formats.weight_file import read_weights
from eegjax.errors import UserError

# torch 2.13 wrote both: torch.nn.PReLU().state_dict() (with its `_metadata`), and added to it
# transposed = torch.arange(6.0).reshape(3, 2).T and brain = torch.tensor([1.5, -3.0]).bfloat16()
TORCH_NEW = (
    b"c-oy*J#W)M7(P3Rlem1P4K(GWK+6yiq;}%wL!z{@kQWaPK}c2?%SlXZ;l@4t(h5YSNT`+AfFDpX@fTq1io}A1SYTs7EU+*k2JY-MwbP~nPC1`)ex"
    b"K(azwh&2RgOdfNF>04!Ga8^&owoq<<=fpl9&c7hm0=WXxNseH;`$!U3S@N>W<#LZ8i`K!POe1vI>LAHgvOPAV@cm?KF&>+Ciq}vZ|xkJEqlCk=}M"
    b"~M_tdeFp|wGag1<rq}I}5)Q7N=WoziJzsbUwLg5$=GD-xmjkOMp%M^l%J2H@|Etn(^_NhS>j3Ice29GN&4n&UDcGqlIZ^9D>KFNq0J`)d58gZFH@"
    b"DyR7<;XTn$&^fQ!*QQw0>N|*o>pQwxbA3X8=mnAdh$e1A7AV%ob-6}FoSt%1gAXSEqInFJLhwrNAN-oPIorpMJ0)Y)m0s7B;oLq_x`d%>Hudp;jE"
    b"XEb=`4smf;nda$UEctIF}j%=evZkMT)lR)^Ly1!B0Cx%;-Wsv)(<BZ(AP;R(s>AD^EPwPX$_NrMGK(kqOrS!S!fs<)9ORt~ksUyY(b1T1dAZ!|uF"
    b"K2pG#_Z9VrNVkd2JpGo5kfjrjt%WaB#A?iu90?HZxq6P1M6%PpMbN)jUVXw45FLSL_Rzc}()hFe{q7=uEa4xXT|8ed5zfhHU!Q02i_8el{2pgs5_"
    b"A8U%H74KU2+yZJv%X4f6~ifu>J*>px^Jb?v2iW29${bJgKhknAic2G}8B~*_1@#zf8cDg^ExvmxWTLIL`^?QemFs^Tl$JEAbp(sFX@VffMG7MCGr"
    b"a?#(RLk@Zwkw3oe}&R`#~2bAyMV}rP$^;03tI|>}^nL&8axan}q(csW-8Dt3Bb}Yp3!ei*$eGnLQY`9n-Y0&rhAS&p|Fe)ACqxeBo&|P7av5(3Rq"
    b"JpkUhEN|o)R3G8%bW?p#-m`U0jn~@T<^tAM{WcxA6`?mzrKn3E5?z#6})Bq|Nb2qV|+}~i}z#y0H*L<9{"
)
TORCH_OLD = (
    b"c-n1J%Wl*#6iu8=h6Y;7oANA=Mc9lcDO1!99U;_>#cSAjgQ84gO^iZ3*LI3P8Y!Drz&Eg9$!GL;_yi;t+$1dmF<17Ld>`i=U%Mt>{NmTwy`P(Jzr"
    b"WlV)a2O@2mJ!9fUR4WHCNKeR2K0*S6avtY%E}_m??xY1&?`|iKGPbiTM~bALcyP;v?7KEWiy|4}&_F%0Q12=HN+`20ZFAx51F*4EofqD&$O&rr@b"
    b"T7VW=K8CN`eDpKQv^<V;az&z}D&&4b^KvE-Bnh)a2h(i0Z;?qhLS!{TzrHc0>ADkdy{e~SYlNkrMYw`CAnV8pI(1#vd!<wCkQM46~hQrZl>(MrNt"
    b"<ZE{p*H)ufm5%jMePGvX`KH#Z}gltaApFl-K|wp>bcZBgS8xab2tAFcN7ibY~H6H;;lD$ggS?Cj@pzQ!ubyKf`N+@xYQ19suEGc<qqyx`jb|Bxcx"
    b"`{m48^maJUmja1~hyvTU?02XL)XeZ6D2Vc_NjZdD7o%~r5Ae#cFcB_@H*Hh+g<(1N=QxYrKv<kjy}TWdYVS9;U@j3qO(mtB}F)93JkZJk*C*t7n&"
    b"dKcXo7w#JOw=p@+9PN&eegmyluU`"
)


def complaint(path: Path) -> str:
    """What is wrong with a file; nothing if it can be read. Anything but a `UserError` is a bug."""
    try:
        read_torch_file(path)
    except UserError as error:
        return str(error)
    return ""


def written(packed: bytes, folder: Path) -> Path:
    path = folder / "torch.pth"
    path.write_bytes(zlib.decompress(base64.b85decode(packed)))
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    if abs(value) < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def many(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def storage(n_values: int = 6, key: str = "0", kind: str = "FloatStorage", part: bytes = b"") -> bytes:
    return many(text("storage"), name("torch", kind), text(key), text("cpu"), number(n_values), part) + b"Q"


def tensor(of: bytes, offset: int = 0, size: tuple[int, ...] = (2, 3), stride: tuple[int, ...] = (3, 1)) -> bytes:
    window = [number(offset), many(*map(number, size)), many(*map(number, stride))]
    return name("torch._utils", "_rebuild_tensor_v2") + many(of, *window, b"\x89", b"N") + b"R"


def state(**entries: bytes) -> bytes:
    return name("collections", "OrderedDict") + b")R(" + b"".join(text(k) + v for k, v in entries.items()) + b"u"


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


SIX = np.arange(6, dtype="<f4").tobytes()


def zip_file(path: Path, body: bytes, data: dict[str, bytes] | None = None, how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("model/data.pkl", pickled(body))
        for key, raw in ({"data/0": SIX} if data is None else data).items():
            archive.writestr(f"model/{key}", raw)
    return path


def old_file(
    path: Path, body: bytes, counts: tuple[int, ...] = (6,), little: bytes = b"\x88", raw: bytes = SIX
) -> Path:
    magic = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    keys = b"](" + b"".join(text(str(k)) for k in range(len(counts))) + b"e"
    pickles = (magic, number(1001), b"}(" + text("little_endian") + little + b"u", body, keys)
    path.write_bytes(b"".join(map(pickled, pickles)) + b"".join(struct.pack("<q", count) + raw for count in counts))
    return path


FORMS = pytest.mark.parametrize("form", [zip_file, old_file])
Form = Callable[[Path, bytes], Path]


@pytest.mark.parametrize("packed", [TORCH_NEW, TORCH_OLD])
def test_what_torch_wrote_is_read_without_torch(packed, tmp_path):
    found = read_weights(written(packed, tmp_path))
    assert list(found) == ["weight", "transposed", "brain"]
    assert [str(array.dtype) for array in found.values()] == ["float32", "float32", "bfloat16"]
    assert found["weight"].tolist() == [0.25]
    assert found["transposed"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["brain"].tolist() == [1.5, -3.0]
    assert not any(array.flags.writeable for array in found.values())


@FORMS
def test_tensors_are_windows_into_storages(form, tmp_path):
    whole, row = tensor(storage()), tensor(storage(), 3, (3,), (1,))
    corners, scalar = tensor(storage(), 0, (2, 2), (3, 2)), tensor(storage(), 5, (), ())
    found = read_torch_file(form(tmp_path / "a.pth", state(whole=whole, row=row, corners=corners, scalar=scalar)))
    assert {k: v.tolist() for k, v in found.items()} == {
        "whole": [[0, 1, 2], [3, 4, 5]],
        "row": [3, 4, 5],
        "corners": [[0, 2], [3, 5]],
        "scalar": 5,
    }


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("Double", "f8"), ("Float", "f4"), ("Half", "f2"), ("BFloat16", jnp.bfloat16), ("Long", "i8"), ("Int", "i4"),
     ("Short", "i2"), ("Char", "i1"), ("Byte", "u1"), ("Bool", "?")],
)  # fmt: skip
def test_every_type_of_storage(kind, dtype, tmp_path):
    values = np.array([0, 1, 1, 0, 1, 0]).astype(np.dtype(dtype))
    body = state(x=tensor(storage(kind=f"{kind}Storage")))
    found = read_torch_file(zip_file(tmp_path / "a.pth", body, {"data/0": values.tobytes()}))["x"]
    assert found.dtype == values.dtype
    assert np.array_equal(found, values.reshape(2, 3))


def test_the_pickle_of_2017(tmp_path):
    """Python 2's byte strings and list of pairs, torch 0.3's four arguments, as in torchvision's oldest files."""
    window = (storage(part=b"N"), number(0), many(number(2), number(3)), many(number(3), number(1)))
    old_tensor = name("torch._utils", "_rebuild_tensor") + many(*window) + b"R"
    pairs = b"](](U\x0bfeature.0.w" + old_tensor + b"ee"
    found = read_torch_file(old_file(tmp_path / "a.pth", name("collections", "OrderedDict") + pairs + b"\x85R"))
    assert {k: v.tolist() for k, v in found.items()} == {"feature.0.w": [[0, 1, 2], [3, 4, 5]]}


def test_a_parameter_is_its_tensor(tmp_path):
    arguments = many(tensor(storage()), b"\x88", name("collections", "OrderedDict") + b")R")
    body = state(x=name("torch._utils", "_rebuild_parameter") + arguments + b"R")
    assert read_torch_file(zip_file(tmp_path / "a.pth", body))["x"].shape == (2, 3)


CALL = many(text("touch called")) + b"R"
REFUSED = {
    "a call": (name("posix", "system") + CALL, "holds 'posix system'"),
    "a builtin": (name("builtins", "eval") + CALL, "holds 'builtins eval'"),
    "torch's own": (name("torch.hub", "load") + CALL, "holds 'torch.hub load'"),
    "a name beneath an allowed one": (name("collections", "OrderedDict.fromkeys") + CALL, "holds 'collections Ord"),
    "an old call": (b"(" + text("touch called") + b"iposix\nsystem\n", "opcode INST"),
    "a name from the stack": (text("posix") + text("system") + b"\x93" + CALL, "opcode STACK_GLOBAL"),
    "a new object": (name("collections", "OrderedDict") + b")\x81", "opcode NEWOBJ"),
    "a registered extension": (b"\x82\x01", "opcode EXT1"),
    "text called": (text("system") + CALL, "calls what is no function"),
    "a type called": (name("torch", "FloatStorage") + CALL, "calls what is no function"),
    "too many arguments": (name("collections", "OrderedDict") + many(*[b"N"] * 9) + b"R", "calls what is no function"),
    "attributes": (tensor(storage()) + b"}b", "sets attributes of a Tensor"),
    "another reference": (many(text("module"), text("x")) + b"Q", "refers to something outside"),
    "a list": (b"]", "value of type list"),
    "one tensor": (tensor(storage()), "value of type Tensor"),
    "a checkpoint": (state(epoch=number(3), model=state(x=tensor(storage()))), "entry 'epoch' is of type int"),
    "a nested state": (state(model=state(x=tensor(storage()))), "entry 'model' is of type dict"),
    "a key that is no text": (b"}" + number(1) + tensor(storage()) + b"s", "key of type int"),
    "a part of a storage": (state(x=tensor(storage(part=many(text("1"), number(0), number(1))))), "part of another"),
    "beyond its storage": (state(x=tensor(storage(), 1)), r"size (2, 3) that its storage of 6 values doesn't hold"),
    "wide strides": (state(x=tensor(storage(), 0, (2, 3), (4, 1))), "doesn't hold"),
    "one value a million times": (state(x=tensor(storage(), 0, (1000, 1000), (0, 0))), "doesn't hold"),
}


@FORMS
@pytest.mark.parametrize("what", REFUSED)
def test_all_but_a_state_dict_is_refused(what, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body, found = REFUSED[what]
    path = form(tmp_path / "a.pth", body)
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: .*{re.escape(found)}.*; expected tensors by name"):
        read_torch_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pth"]  # nothing was called


def test_the_list_of_opcodes_is_closed():
    """All others build objects, call, or belong to protocols that torch.save doesn't write."""
    everything = {"PROTO", "STOP", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "MARK", "NONE", "NEWTRUE", "NEWFALSE",
                  "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "BINSTRING", "SHORT_BINSTRING",
                  "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS",
                  "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}  # fmt: skip
    assert {*torch_pickle.OPCODES, "STOP"} == everything


BROKEN = {
    "no number": state(x=tensor(storage(), -1)),
    "a size beyond 64 bits": state(x=tensor(storage(), 0, (2**64,), (0,))),
    "65 axes": state(x=tensor(storage(), 0, (1,) * 65, (1,) * 65)),
    "sizes without strides": state(x=tensor(storage(), 0, (2, 3), (1,))),
    "a storage larger than the file": state(x=tensor(storage(2**40), 0, (2**40,), (1,))),
    "a storage larger than its data": state(x=tensor(storage(7), 0, (7,), (1,))),
    "a storage of another type": state(x=tensor(storage(), 0), y=tensor(storage(kind="HalfStorage"))),
    "a tensor of text": state(x=tensor(text("0"))),
    "too few arguments": name("torch._utils", "_rebuild_tensor_v2") + many(storage()) + b"R",
    "too few values": b"N\x87",
    "no mark": b"t",
    "a memo never written": b"h\x07",
    "keys without values": b"}(" + text("x") + b"u",
    "appending to a dict": b"}Na",
    "an unknown opcode": b"\xff",
    "text beyond the end": b"X\xf0\xff\xff\xffabc",
    "text in no encoding": b"X\x02\0\0\0\xc3\x28",
}


@FORMS
@pytest.mark.parametrize("what", BROKEN)
def test_broken_pickles(what, form, tmp_path):
    path = form(tmp_path / "a.pth", BROKEN[what])
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: broken, or no torch file \(.*; fetch it again"):
        read_torch_file(path)


def doubled(depth: int) -> bytes:
    """A tuple that holds the same tuple twice, and so on down: small in memory, endless to hash or to print."""
    return b")" + b"".join(b"q%ch%ch%c\x86" % (k, k, k) for k in range(depth))


def repeated_list(n_values: int, times: int) -> bytes:
    """One long list, made into a dict again and again."""
    pairs = b"](" + b"".join(b"](" + text(str(k)) + b"Ne" for k in range(n_values)) + b"eq\x01"
    return pairs + (name("collections", "OrderedDict") + b"h\x01\x85R") * times + b"\x85"


BOMBS = {
    "a memo of four thousand million places": state(x=tensor(storage())) + b"r\xff\xff\xff\xff",
    "a doubled tuple as a key": b"}" + doubled(100) + b"Ns",
    "a doubled tuple as a state dict": doubled(100),
    "a doubled tuple as a size": state(x=name("torch._utils", "_rebuild_tensor") + many(*[doubled(100)] * 4) + b"R"),
    "a tuple in a tuple, very deep": b")" + b"\x85" * 100_000,
    "a list in itself": b"]q\0h\0a",
    "a list taken over and over": repeated_list(5000, 2000),
    "more opcodes than a file needs": b"N" * 200_000,
}


@FORMS
@pytest.mark.parametrize("what", BOMBS)
def test_bombs_do_not_go_off(what, form, tmp_path, monkeypatch):
    """Each is a few kilobytes; with Python's own unpickler some take gigabytes and some never end."""
    monkeypatch.setattr(torch_pickle, "MAX_OPCODES", 150_000)
    path = form(tmp_path / "a.pth", BOMBS[what])
    tracemalloc.start()
    begun_s = time.process_time()
    found = complaint(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bool(found) == (what != "a memo of four thousand million places")  # which is harmless here
    assert len(found) < 500
    assert peak < 40e6
    assert time.process_time() - begun_s < 10


def test_compressed_zip_entries_are_refused(tmp_path):
    path = zip_file(tmp_path / "a.pth", state(x=tensor(storage())), {"data/0": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    with pytest.raises(UserError, match=r"entry 'model/data.pkl' is compressed"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({}, "There is no item named 'model/data/0'"),
        ({"data/0": SIX + b"\0"}, "entry 'model/data/0' has 25 bytes where at most 24 belong"),
        ({"data/0": SIX[:-1]}, "a tensor of 24 bytes ends after 23"),
        ({"data/0": SIX, "byteorder": b"big"}, "big-endian"),
        ({"data/0": SIX, "../other/data.pkl": b"N."}, None),
        ({"data/0": SIX, "byteorder": b"little"}, None),
    ],
)
def test_zips_whose_entries_are_wrong(data, found, tmp_path):
    path = zip_file(tmp_path / "a.pth", state(x=tensor(storage())), data)
    if found is None:
        assert read_torch_file(path)["x"].shape == (2, 3)
        return
    with pytest.raises(UserError, match=found):
        read_torch_file(path)


def test_two_tensors_cannot_share_the_bytes_of_one_entry(tmp_path):
    """The zip bomb of overlapping entries: all together they announce more than the file has."""
    n_values, n_tensors = 100_000, 20
    body = state(**{f"x{k}": tensor(storage(n_values, str(k)), 0, (n_values,), (1,)) for k in range(n_tensors)})
    path = zip_file(tmp_path / "a.pth", body, {"data/0": bytes(4 * n_values)})
    with pytest.raises(UserError, match="8000000 bytes of tensors are announced, the file has 40"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"little": b"\x89"}, "big-endian"),
        ({"counts": (5,)}, "a storage of 6 values is announced, 5 follow"),
        ({"counts": ()}, "not a list of the 1 storages"),
        ({"raw": SIX[:-1]}, "a tensor of 24 bytes ends after 23"),
    ],
)
def test_old_files_whose_storages_are_wrong(change, found, tmp_path):
    path = old_file(tmp_path / "a.pth", state(x=tensor(storage())), **change)
    with pytest.raises(UserError, match=found):
        read_torch_file(path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"<!DOCTYPE html><html>404</html>", pickled(b"N"), bytes(1000)])
def test_other_files_are_no_torch_files(content, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="broken, or no torch file"):
        read_torch_file(path)


@pytest.mark.parametrize("packed", [TORCH_NEW, TORCH_OLD])
def test_cut_and_damaged_files_are_an_error_or_are_read(packed, tmp_path):
    """Wherever a file ends early it is an error; whatever a flipped byte does, it is never a traceback."""
    path = written(packed, tmp_path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_torch_file(path)
    complaints = []
    for position in rng.integers(0, len(whole), 500):
        path.write_bytes(whole[:position] + rng.bytes(1) + whole[position + 1 :])
        complaints.append(complaint(path))
    assert all(not found or (str(path) in found and "\n" not in found) for found in complaints)
    assert 0 < complaints.count("") < 500


def test_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "half": np.ones(2, np.float16)}
    save_file(arrays, path)
    found = read_weights(path)
    assert {k: (v.tolist(), v.dtype) for k, v in found.items()} == {k: (v.tolist(), v.dtype) for k, v in arrays.items()}
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + np.array([1.5, -3], jnp.bfloat16).tobytes())
    assert read_weights(path)["x"].tolist() == [1.5, -3.0]


@pytest.mark.parametrize("content", [b"", b"abc", struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2) + b"[]"])
def test_broken_safetensors(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.safetensors: broken, or no .safetensors file \(.*; fetch it again"):
        read_weights(path)


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(UserError, match=r"a.h5: no file of weights by its name; expected .safetensors, .pth"):
        read_weights(tmp_path / "a.h5")
    with pytest.raises(UserError, match=r"a.pth: no such file"):
        read_weights(tmp_path / "a.pth")
    (tmp_path / "b.pth").mkdir()
    with pytest.raises(UserError, match=r"b.pth: no such file"):
        read_weights(tmp_path / "b.pth")
