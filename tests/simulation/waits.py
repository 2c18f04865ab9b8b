"""Makes the guard's program, as it is, a set of generators.

Several guards run in one process here, without threads: wherever one waits, the others go on. So at load every call by the name of something that
waits becomes `yield from` that call, and nothing else is changed: `plain` turns the tree back, and a unit test compares it with the program's own.
"""
import ast
import types

# What waits by itself, and Job.then, which is called by another name than it is defined by.
PRIMITIVES = ('sleep', 'select', 'call', 'then')
HELPER = '_waits'


def helper(value):
    """A function of that name need not be one that waits (start, tick)."""
    if type(value) is types.GeneratorType:
        value = yield from value
    return value


def _called(node):
    function = node.func
    return function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ''


def _own(node):
    """The nodes of a function without those of functions in it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.Lambda)):
            yield from _own(child)


def waiting(trees):
    """The names of all functions that wait, whichever file they are in."""
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    calls = dict((node, set(_called(call) for call in _own(node) if isinstance(call, ast.Call))) for node in functions)
    names = set(PRIMITIVES)
    while True:
        more = set(node.name for node in functions if calls[node] & names) - names
        if not more:
            return names
        names |= more


class _Yield(ast.NodeTransformer):
    def __init__(self, names):
        self.names = names

    def visit_Call(self, node):  # pylint: disable=invalid-name
        self.generic_visit(node)
        if _called(node) not in self.names:
            return node
        wrapped = ast.Call(func=ast.Name(id=HELPER, ctx=ast.Load()), args=[node], keywords=[])
        return ast.copy_location(ast.YieldFrom(value=wrapped), node)


class _Plain(ast.NodeTransformer):
    def visit_YieldFrom(self, node):  # pylint: disable=invalid-name
        self.generic_visit(node)
        return node.value.args[0]


def generators(sources):
    """{name: tree} of the files of that program, every wait of it a `yield from`. sources: {name: text}."""
    trees = dict((name, ast.parse(text, name)) for name, text in sources.items())
    names = waiting(trees.values())
    for tree in trees.values():
        # At the top level nothing waits.
        tree.body = [_Yield(names).visit(node) if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else node for node in tree.body]
        ast.fix_missing_locations(tree)
    return trees


def plain(tree):
    return _Plain().visit(tree)
