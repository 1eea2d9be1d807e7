from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class Profile(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROFILE_UNSPECIFIED: _ClassVar[Profile]
    PROFILE_FAST: _ClassVar[Profile]
    PROFILE_BALANCED: _ClassVar[Profile]
    PROFILE_HIGH: _ClassVar[Profile]
PROFILE_UNSPECIFIED: Profile
PROFILE_FAST: Profile
PROFILE_BALANCED: Profile
PROFILE_HIGH: Profile
