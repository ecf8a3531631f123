"""Reading every record of a prepared data set to find the damaged ones."""

from tqdm import tqdm

from data_prep.dataset import PreparedData
from data_prep.errors import UserError
from data_prep.records import damaged_records


def verify(data: PreparedData) -> None:
    """Read and decode every record.

    Raises:
        UserError: Some records are damaged; each is named with its shard and number.
    """
    shards = [shard for split in data.splits for shard in data.shards(split)]
    damaged = [
        f"{shard}: record {number}: {reason}"
        for shard in tqdm(shards, desc="verify", unit="shard")
        for number, reason in damaged_records(shard)
    ]
    if damaged:
        raise UserError(f"{len(damaged)} damaged: {'; '.join(damaged)}")
