"""Exact nearest neighbours and ranks, in blocks, so that memory does not grow with queries × gallery.

Ties are scored as if tied products were shuffled. Vectors that are all alike, or several products with one title, give
equal similarities, and the order in which a sort leaves them would otherwise decide the figure. A query counts with the
probability that a relevant product is among the first k. That is deterministic and does not depend on the order of the
gallery. An encoder that maps everything to one point gets exactly what guessing gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

TIE_TOLERANCE = 1e-6
"""Cosines nearer to each other than this are tied: float32 products of unit vectors are not more exact than that."""

QUERY_BLOCK = 1024
GALLERY_BLOCK = 2048
"""One block of similarities takes QUERY_BLOCK × GALLERY_BLOCK × 4 bytes = 8 MiB: it is still in the processor's cache
when it is counted, and counting then costs a fifth of the product (benchmarks/retrieval_scale.py)."""
MOST_PAIRS = 64


@dataclass(frozen=True)
class Ranks:
    """Where each query's best relevant product stands; every array is (queries,) int64.

    Attributes:
        above: irrelevant products more similar to the query than its best relevant one.
        tied_irrelevant: irrelevant products as similar as that one.
        tied_relevant: relevant products as similar as that one, itself included; 0 for a query that has no relevant
            product in the gallery, which therefore cannot be scored.
    """

    above: np.ndarray
    tied_irrelevant: np.ndarray
    tied_relevant: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """(queries,) bool: which queries have a relevant product to find."""
        return self.tied_relevant > 0

    def hits(self, k: int) -> np.ndarray:
        """(scored queries,) float64: probability that a relevant product is among the first k, ties shuffled."""
        above, wrong, right = (
            values[self.scored].astype(np.float64) for values in (self.above, self.tied_irrelevant, self.tied_relevant)
        )
        miss = np.ones(len(above))
        # Drawing without replacement: each of the k - above places that the tie fills holds an irrelevant product.
        for drawn in range(k):
            open_place = above + drawn < k
            chance = np.clip(wrong - drawn, 0, None) / np.clip(wrong + right - drawn, 1, None)
            miss = np.where(open_place, miss * chance, miss)
        return 1 - miss

    def reciprocal_ranks(self, k: int) -> np.ndarray:
        """(scored queries,) float64: 1 / rank of the first relevant product, 0 beyond rank k; ties shuffled."""
        found = np.stack([np.zeros(int(self.scored.sum())), *(self.hits(rank) for rank in range(1, k + 1))])
        reciprocal: np.ndarray = (1 / np.arange(1, k + 1)) @ np.diff(found, axis=0)
        return reciprocal


def ranks(
    query_vectors: np.ndarray,
    gallery_vectors: np.ndarray,
    relevant: Sequence[Sequence[int]],
    excluded: Sequence[int | None],
    *,
    query_block: int = QUERY_BLOCK,
    gallery_block: int = GALLERY_BLOCK,
) -> Ranks:
    """Finds where each query's best relevant product stands among all the gallery.

    Args:
        query_vectors: (queries, dimension) float32, unit length.
        gallery_vectors: (products, dimension) float32, unit length.
        relevant: for each query the rows of the gallery that are right answers; may be empty.
        excluded: for each query the row that is taken out of its gallery (its own product), or None. It counts neither
            as a right answer nor as a wrong one.
        query_block, gallery_block: rows worked on at a time.

    Raises:
        ValueError: the shapes or lengths do not agree, or a vector is not finite.
    """
    queries, gallery = finite_matrix(query_vectors, "query"), finite_matrix(gallery_vectors, "gallery")
    if len(relevant) != len(queries) or len(excluded) != len(queries):
        raise ValueError(f"{len(queries)} queries need as many relevant ({len(relevant)}), excluded ({len(excluded)})")
    if len(queries) and len(gallery) and queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"query vectors have {queries.shape[1]} dimensions, gallery vectors {gallery.shape[1]}")
    right = [sorted(set(rows) - {out}) for rows, out in zip(relevant, excluded, strict=True)]
    above, tied, tied_relevant = (np.zeros(len(queries), np.int64) for _ in range(3))
    for start in range(0, len(queries), query_block):
        block = slice(start, min(start + query_block, len(queries)))
        counts = _rank_block(queries[block], gallery, right[block], excluded[block], gallery_block)
        above[block], tied[block], tied_relevant[block] = (count.cpu().numpy() for count in counts)
    return Ranks(above, tied, tied_relevant)


def _rank_block(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    right: Sequence[Sequence[int]],
    excluded: Sequence[int | None],
    gallery_block: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    device = queries.device
    rows = torch.tensor([row for row, columns in enumerate(right) for _ in columns], dtype=torch.long, device=device)
    columns = torch.tensor([column for columns in right for column in columns], dtype=torch.long, device=device)
    best = torch.full((len(queries),), -torch.inf, device=device)
    relevant_scores = torch.empty(len(rows), device=device)
    for start in range(0, len(rows), gallery_block):
        part = slice(start, start + gallery_block)
        relevant_scores[part] = (queries[rows[part]] * gallery[columns[part]]).sum(dim=1)
    best.scatter_reduce_(0, rows, relevant_scores, "amax")
    at_best = relevant_scores >= best[rows] - TIE_TOLERANCE
    tied_relevant = torch.zeros(len(queries), dtype=torch.long, device=device).index_add_(0, rows, at_best.long())

    # The right answers and the excluded product are taken out; what remains above or beside the best is irrelevant.
    out = [(row, column) for row, column in enumerate(excluded) if column is not None]
    rows = torch.cat([rows, torch.tensor([row for row, _ in out], dtype=torch.long, device=device)])
    columns = torch.cat([columns, torch.tensor([column for _, column in out], dtype=torch.long, device=device)])
    columns, order = columns.sort()
    rows = rows[order]
    starts = range(0, len(gallery), gallery_block)
    bounds = torch.searchsorted(columns, torch.tensor([*starts, len(gallery)], device=device)).tolist()
    above, at_least = (torch.zeros(len(queries), dtype=torch.long, device=device) for _ in range(2))
    high, low = best[:, None] + TIE_TOLERANCE, best[:, None] - TIE_TOLERANCE
    for number, start in enumerate(starts):
        scores = queries @ gallery[start : start + gallery_block].T
        taken_out = slice(bounds[number], bounds[number + 1])
        scores[rows[taken_out], columns[taken_out] - start] = -torch.inf
        # Summing bytes is three times as fast as summing bools.
        above += (scores > high).view(torch.uint8).sum(dim=1, dtype=torch.int32)
        at_least += (scores >= low).view(torch.uint8).sum(dim=1, dtype=torch.int32)
    return above, at_least - above, tied_relevant


def places(
    query_vectors: np.ndarray,
    gallery_vectors: np.ndarray,
    products: Sequence[Sequence[int]],
    excluded: Sequence[int | None],
    *,
    query_block: int = QUERY_BLOCK,
    gallery_block: int = GALLERY_BLOCK,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each of the given products stands in the ranking of its query among all the gallery.

    Args:
        query_vectors, gallery_vectors, excluded, query_block, gallery_block: as of `ranks`.
        products: for each query the rows of the gallery that are looked for, without the excluded one.

    Returns:
        Of every product of every query, in order: its cosine, float32; how many of the gallery are more similar to the
        query, int64; and how many are as similar, itself included, int64.

    Raises:
        ValueError: a vector is not finite.
    """
    queries, gallery = finite_matrix(query_vectors, "query"), finite_matrix(gallery_vectors, "gallery")
    device = queries.device
    found: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for first in range(0, len(queries), query_block):
        block, some = queries[first : first + query_block], products[first : first + query_block]
        out = [(row, column) for row, column in enumerate(excluded[first : first + query_block]) if column is not None]
        out_rows, out_columns = (torch.tensor(each, dtype=torch.long, device=device) for each in _columns(out))
        pairs = [(row, column) for row, columns in enumerate(some) for column in columns]
        rows, columns = (torch.tensor(each, dtype=torch.long, device=device) for each in _columns(pairs))
        own = torch.empty(len(rows), device=device)
        above, at_least = (torch.zeros(len(rows), dtype=torch.long, device=device) for _ in range(2))
        parts = [slice(start, start + query_block) for start in range(0, len(rows), query_block)]
        for part in parts:
            own[part] = (block[rows[part]] * gallery[columns[part]]).sum(dim=1)
        for start in range(0, len(gallery), gallery_block) if len(rows) else ():
            scores = block @ gallery[start : start + gallery_block].T
            here = (columns >= start) & (columns < start + scores.shape[1])
            scores[rows[here], columns[here] - start] = own[here]  # a product is always tied with itself
            here = (out_columns >= start) & (out_columns < start + scores.shape[1])
            scores[out_rows[here], out_columns[here] - start] = -torch.inf
            for part in parts:
                of_pair, score = scores[rows[part]], own[part, None]
                above[part] += (of_pair > score + TIE_TOLERANCE).view(torch.uint8).sum(dim=1, dtype=torch.int32)
                at_least[part] += (of_pair >= score - TIE_TOLERANCE).view(torch.uint8).sum(dim=1, dtype=torch.int32)
        found.append((own.cpu().numpy(), above.cpu().numpy(), (at_least - above).cpu().numpy()))
    cosines, higher, tied = (np.concatenate(each) for each in zip(*found, strict=True))
    return cosines, higher, tied


def _columns(pairs: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [first for first, _ in pairs], [second for _, second in pairs]


def top_k(
    query_vectors: np.ndarray,
    gallery_vectors: np.ndarray,
    k: int,
    excluded: Sequence[int | None] | None = None,
    ceilings: np.ndarray | None = None,
    groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest gallery rows of each query, best first; of equal ones the lower row comes first.

    Args:
        query_vectors: (queries, dimension) float32, unit length.
        gallery_vectors: (products, dimension) float32, unit length.
        k: how many.
        excluded: for each query a row that is left out, or None.
        ceilings: (queries,) float32, for each query the cosine above which rows are left out.
        groups: (queries,) and (products,) int64, the groups of both; rows of a query's own group are left out.

    Returns:
        Rows, (queries, min(k, products)) int64, and their cosines, float32. Rows left out come last with -inf.

    Raises:
        ValueError: a vector is not finite.
    """
    queries, gallery = finite_matrix(query_vectors, "query"), finite_matrix(gallery_vectors, "gallery")
    rows_of_all, scores_of_all = [], []
    for first in range(0, len(queries), QUERY_BLOCK):
        block = queries[first : first + QUERY_BLOCK]
        scores = torch.empty(len(block), 0, device=block.device)
        rows = torch.empty(len(block), 0, dtype=torch.long, device=block.device)
        out = list(excluded[first : first + QUERY_BLOCK]) if excluded is not None else []
        highest = None if ceilings is None else torch.from_numpy(ceilings[first : first + QUERY_BLOCK]).to(block)
        for start in range(0, len(gallery), GALLERY_BLOCK):
            new = block @ gallery[start : start + GALLERY_BLOCK].T
            for row, column in enumerate(out):
                if column is not None and start <= column < start + new.shape[1]:
                    new[row, column - start] = -torch.inf
            if highest is not None:
                new.masked_fill_(new > highest[:, None], -torch.inf)
            if groups is not None:
                own, others = groups[0][first : first + QUERY_BLOCK], groups[1][start : start + GALLERY_BLOCK]
                new.masked_fill_(torch.from_numpy(own[:, None] == others).to(new.device), -torch.inf)
            scores, rows = _with_block(scores, rows, new, start, k)
        rows_of_all.append(rows.cpu().numpy())
        scores_of_all.append(scores.cpu().numpy())
    if not rows_of_all:
        return np.zeros((0, k), np.int64), np.zeros((0, k), np.float32)
    return np.concatenate(rows_of_all), np.concatenate(scores_of_all)


def _with_block(
    scores: torch.Tensor, rows: torch.Tensor, new: torch.Tensor, start: int, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best so far, (queries, ≤ k), and the columns of a block of the gallery that begins at row `start`."""
    full = scores.shape[1] == k
    # Far into a large gallery few queries find anything better than what they have; only those are sorted again.
    some = (new.amax(dim=1) > scores[:, -1]).nonzero()[:, 0] if full else torch.arange(len(new), device=new.device)
    columns = torch.arange(start, start + new.shape[1], device=new.device).expand(len(some), -1)
    # What came before stands first, so the lower row wins a tie across blocks too.
    best, order = _first_of_best(torch.cat([scores[some], new[some]], dim=1), k)
    found = torch.cat([rows[some], columns], dim=1).gather(1, order)
    if not full:
        return best, found
    return scores.index_copy(0, some, best), rows.index_copy(0, some, found)


def _first_of_best(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best of each row and their places, best first; of equal ones the first.

    Sorting whole rows takes several times as long as finding the best, which leaves open which of equal ones come.
    """
    best, places = scores.topk(min(k, scores.shape[1]), dim=1)
    lowest = best[:, -1:]
    if ((scores >= lowest).sum(dim=1) > best.shape[1]).any():  # a tie at the end
        best, places = scores.sort(dim=1, descending=True, stable=True)
        return best[:, :k], places[:, :k]
    places, _ = places.sort(dim=1)
    best, order = scores.gather(1, places).sort(dim=1, descending=True, stable=True)
    return best, places.gather(1, order)


def near_pairs(
    tables: Sequence[np.ndarray],
    at_least: Sequence[float],
    *,
    most: int = MOST_PAIRS,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows that are near each other in every table. All pairs are compared, in blocks.

    Args:
        tables: each (rows, dimension of its own) float32, unit length, about the same things.
        at_least: for each table the lowest cosine of a pair.
        most: a row is paired with at most so many rows after it, the first ones; so a thousand equal rows, which still
            hang together, do not take the memory of half a million pairs.
        on_rows: is told of every so many rows that are done.

    Returns:
        (pairs, 2) int64, the lower row first, in order; and the lowest of their cosines, (pairs,) float32.

    Raises:
        ValueError: a vector is not finite.
    """
    matrices = [finite_matrix(table, "product") for table in tables]
    count = len(matrices[0])
    pairs, scores = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for first in range(0, count, QUERY_BLOCK):
        blocks = [matrix[first : first + QUERY_BLOCK] for matrix in matrices]
        room = torch.full((len(blocks[0]),), most, device=blocks[0].device)
        for start in range(first, count, GALLERY_BLOCK):
            score, near = None, None
            for block, matrix, floor in zip(blocks, matrices, at_least, strict=True):
                cosines = block @ matrix[start : start + GALLERY_BLOCK].T
                enough = (cosines >= floor - TIE_TOLERANCE).triu(first - start + 1)  # later rows only
                near = enough if near is None else near & enough
                score = cosines if score is None else torch.minimum(score, cosines)
                if not near.any():
                    break
            assert near is not None and score is not None
            counts = near.sum(dim=1)
            if (counts > room).any():
                near &= near.cumsum(dim=1) <= room[:, None]
                counts = near.sum(dim=1)
            room -= counts
            found = near.nonzero()
            if len(found):
                scores.append(score[near].cpu().numpy())
                pairs.append((found + torch.tensor([first, start], device=found.device)).cpu().numpy())
        on_rows(len(blocks[0]))
    return np.concatenate(pairs), np.concatenate(scores)


def finite_matrix(vectors: np.ndarray, which: str) -> torch.Tensor:
    """Vectors, (rows, dimension), as float32 on the GPU where there is one.

    Raises:
        ValueError: another shape, or a vector that is not finite; `which` says of what.
    """
    matrix = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
    if matrix.ndim != 2:
        raise ValueError(f"{which} vectors must be (rows, dimension), got shape {tuple(matrix.shape)}")
    # A sum is finite only if every part is; one number a row, where isfinite would copy the whole matrix.
    bad = ~torch.isfinite(matrix.sum(dim=1))
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise ValueError(f"{which} vector {row} is not finite; the encoder that made it is broken or diverged")
    return matrix.to("cuda" if torch.cuda.is_available() else "cpu")
