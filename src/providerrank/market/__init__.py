"""The market: miners and validators, as services over ports."""
