"""Chat templates whose loops, macros and comparisons say what they do: their syntax trees with filters put in.

Jinja lets a sandbox see operators, calls and filters. What it does not see goes through filters of ours here, under
names that no template can write.
"""

from typing import Any, TypeVar

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

TURN = "luthier: a turn"
"""Takes the steps of a body; true."""
COPIED = "luthier: copied"
"""Takes what it costs to copy its value; the value."""
LOOKED_INTO = "luthier: looked into"
"""Takes what it costs to compare or hash its value; the value."""
JOINED = "luthier: joined"
"""What `~` does."""

_NODES_PER_STEP = 8
_Body = TypeVar("_Body", nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)


def metered(tree: nodes.Template) -> nodes.Template:
    """The tree, changed in place. All of it still has to get its environment."""
    _Meter().visit(tree)
    return tree


class _Meter(NodeTransformer):
    """Jinja finds its methods by the names of its nodes."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        node = self._with_turn(node)
        if node.test is not None:  # it is asked for turns that the body does not see
            node.test = nodes.And(_turn(node.test), node.test)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        return self._with_turn(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:  # noqa: N802
        return self._with_turn(node)

    def visit_Block(self, node: nodes.Block) -> nodes.Block:  # noqa: N802
        return self._with_turn(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.Tuple(node.nodes, "load"), JOINED)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        for operand in node.ops:
            if not _is_literal(operand.expr):
                operand.expr = _filtered(operand.expr, LOOKED_INTO)
                if operand.op in ("in", "notin") and not _is_literal(node.expr):  # it may be hashed
                    node.expr = _filtered(node.expr, LOOKED_INTO)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _filtered(node, COPIED)
        if not isinstance(node.arg, nodes.Const | nodes.Neg | nodes.Sub):
            node.arg = _filtered(node.arg, LOOKED_INTO)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Pair:  # noqa: N802
        self.generic_visit(node)
        if not _is_literal(node.key):
            node.key = _filtered(node.key, LOOKED_INTO)
        return node

    def _with_turn(self, node: _Body) -> _Body:
        turn = nodes.ExprStmt(_turn(*node.body), lineno=node.lineno)
        self.generic_visit(node)
        node.body.insert(0, turn)
        return node


def _turn(*body: nodes.Node) -> nodes.Filter:
    num_nodes = sum(1 for node in body for _ in node.find_all(nodes.Node))
    return _filtered(nodes.Const(1 + num_nodes // _NODES_PER_STEP), TURN)


def _filtered(value: Any, name: str) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)


def _is_literal(node: nodes.Node) -> bool:
    """Whether it is as short as it is written."""
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(isinstance(item, nodes.Const) for item in node.items)
    return isinstance(node, nodes.Const)
