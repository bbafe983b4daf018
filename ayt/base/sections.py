"""What the parts of an experiment file are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


def _unique(values: list[Any]) -> list[Any]:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"{twice[0]} stands twice")
    return values


Choices = AfterValidator(_unique)
Counts = Annotated[list[Count], Field(min_length=1), Choices]
Groups = Literal["geo", "deg", "geo_clr", "geo_deg", "geo_clr_deg"]
Metric = Literal[
    "frechet",
    "kid",
    "precision",
    "recall",
    "density",
    "coverage",
    "inception_score",
    "denoised_frechet",
    "lpips",
]


class Section(BaseModel):
    """A part of an experiment file: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def check_divides(part: int | None, whole: int | None, part_name: str, whole_name: str) -> None:
    """Raise ValueError unless ``part`` divides ``whole``; absent ones are not checked."""
    if part and whole and whole % part:
        raise ValueError(f"{part_name} {part} does not divide {whole_name} {whole}")
