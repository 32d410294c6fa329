"""Expressions of rules and conditions.

They are written as Python expressions over unsigned 64-bit numbers.  The C made from them saturates
instead of wrapping and never divides by zero, so that a hostile field cannot fool a rule.
"""
import ast

from speclang.model import MAX64, SpecError, is_bytes, is_dynamic, values

CALLS = {ast.Add: "spec_add", ast.Sub: "spec_sub", ast.Mult: "spec_mul", ast.FloorDiv: "spec_div",
         ast.Mod: "spec_mod", ast.LShift: "spec_shl", ast.RShift: "spec_shr"}
INFIX = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^"}
COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def to_c(text, name_to_c):
    """Translate one expression; name_to_c maps an identifier to its C text or raises SpecError."""
    def walk(n):
        if isinstance(n, ast.Constant) and isinstance(n.value, int) and 0 <= n.value <= MAX64:
            return "UINT64_C(0x%x)" % n.value if n.value > 9 else "UINT64_C(%d)" % n.value
        if isinstance(n, ast.Name):
            return name_to_c(n.id)
        if isinstance(n, ast.BinOp) and type(n.op) in CALLS:
            return "%s(%s, %s)" % (CALLS[type(n.op)], walk(n.left), walk(n.right))
        if isinstance(n, ast.BinOp) and type(n.op) in INFIX:
            return "(%s %s %s)" % (walk(n.left), INFIX[type(n.op)], walk(n.right))
        if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.Not):
            return "!%s" % walk(n.operand)
        if isinstance(n, ast.BoolOp):
            op = " && " if isinstance(n.op, ast.And) else " || "
            return "(" + op.join(walk(v) for v in n.values) + ")"
        if isinstance(n, ast.Compare) and len(n.ops) == 1 and type(n.ops[0]) in COMPARE:
            return "(%s %s %s)" % (walk(n.left), COMPARE[type(n.ops[0])], walk(n.comparators[0]))
        raise SpecError("expression %r: %s is not in the language" % (text, type(n).__name__))
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as e:
        raise SpecError("expression %r: %s" % (text, e.msg)) from None
    return walk(tree.body)

def resolver(spec, s):
    """Names in the expressions of a structure: its fields, its lets, parameters, constants."""
    fn = "%s_%s" % (spec["format"], s["name"])
    fields = {f["name"]: f for f in s.get("fields", [])}
    params = {p["name"] for p in spec.get("parameters", [])}
    numbers = values(spec)

    def name(n):
        if n in fields and not is_bytes(fields[n]):
            extra = "".join(", (unsigned)q->%s" % p for p in s.get("parameters", [])
                            if is_dynamic(fields[n]))
            return "(uint64_t)%s_get_%s(p%s)" % (fn, n, extra)
        if n in s.get("let", {}):
            return to_c(s["let"][n], name)
        if n in params:
            return "q->%s" % n
        if n in numbers:
            return "(uint64_t)%s_%s" % (spec["format"].upper(), n)
        raise SpecError("%s: nothing is called %s" % (s["name"], n))
    return name

def evaluate(text, env):
    """An expression's value over Python integers, for bit ranges that depend on parameters."""
    to_c(text, lambda n: n)     # only the language's own operators
    code = compile(ast.parse(text, mode="eval"), "<spec>", "eval")
    return eval(code, {"__builtins__": {}}, env)  # pylint: disable=eval-used
