/** The operator's condition is kept and ours is added to it. */

/** Whether the text is one pair of parentheses with everything inside. */
function oneGroup(text) {
  if (text[0] !== "(") return false
  let depth = 0
  let quote = ""
  for (let at = 0; at < text.length; at++) {
    const letter = text[at]
    if (quote) {
      if (letter === "\\") at++
      else if (letter === quote) quote = ""
    } else if (letter === '"' || letter === "'") quote = letter
    else if (letter === "/" && text[at + 1] === "/") {
      const end = text.indexOf("\n", at)
      if (end < 0) return false
      at = end
    } else if (letter === "(") depth++
    else if (letter === ")" && --depth === 0) return at === text.length - 1
  }
  return false
}

/** Whether a rule lets through nobody whom ours refuses: it is closed, it is ours, or it is ours and a further condition. */
function holds(rule, ours) {
  if (rule === null || rule === undefined) return true
  if (ours === null) return false
  const head = `(${ours}) && `
  return rule === ours || (rule.startsWith(head) && oneGroup(rule.slice(head.length)))
}

/** Both conditions at once. */
function both(theirs, ours) {
  if (holds(theirs, ours)) return theirs
  if (ours === null || theirs.trim() === "") return ours
  return `(${ours}) && (${theirs}${theirs.includes("//") ? "\n" : ""})`
}

module.exports = { holds, both }
