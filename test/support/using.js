// What `using` becomes where the runtime does not know it: declared in turn, disposed in reverse, no error is lost.
const none = {}

export default function usingCtx() {
  const opened = []
  const take = (value, isAsync) => {
    if (value === null || value === undefined) return value
    const dispose = (isAsync ? value[Symbol.asyncDispose] : undefined) ?? value[Symbol.dispose]
    if (typeof dispose !== 'function') throw new TypeError('this cannot be disposed of')
    opened.push({ value, dispose, isAsync })
    return value
  }
  const context = {
    e: none,
    u: value => take(value, false),
    a: value => take(value, true),
    d() {
      const failed = error => {
        context.e = context.e === none ? error : new AggregateError([error, context.e], 'and disposing failed')
      }
      const rest = () => {
        for (let last = opened.pop(); last !== undefined; last = opened.pop())
          try {
            const done = last.dispose.call(last.value)
            if (last.isAsync) return Promise.resolve(done).catch(failed).then(rest)
          } catch (error) {
            failed(error)
          }
        if (context.e !== none) throw context.e
      }
      return rest()
    },
  }
  return context
}
